"""What is known of Istio: the catalogue of releases, sources of manifests, injection, installation, the mesh."""
