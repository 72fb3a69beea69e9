"""What hosts, registries and markets read, made from the code by `make manifests`."""
