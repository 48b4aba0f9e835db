"""What is known of Istio: catalogue of releases, sources of manifests, injection, installation, the mesh."""
