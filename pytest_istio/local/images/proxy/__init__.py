"""The proxy's image: a real Envoy, and the agent that starts it."""
