"""A small kubectl: what the scripts of Istio's install jobs call, with the rights of their ServiceAccount."""
