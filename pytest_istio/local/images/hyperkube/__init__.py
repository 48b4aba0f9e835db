"""The image of Istio's install jobs: their shell scripts are run for real, with this package's kubectl."""
