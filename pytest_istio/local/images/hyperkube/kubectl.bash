# The image has its kubectl at the root of the filesystem, and scripts call it by that path.
/kubectl() { kubectl "$@"; }
