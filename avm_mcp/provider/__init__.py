"""The API of AI Video Maker over HTTP. `protocol.Provider` is what the rest of the program knows of it."""
