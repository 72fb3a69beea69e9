"""The API of AI Video Maker over HTTP."""
