"""curl: what people type into a pod to see whether another one answers."""
