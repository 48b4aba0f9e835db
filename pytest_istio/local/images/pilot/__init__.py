"""The discovery service's image: turns the cluster's objects into Envoy's configuration.

Reading and serving are threads around pure functions:

    store        follows the cluster's objects, says when all were seen once
    mesh         the objects as one frozen picture: services with endpoints, rules by host, policies
    clusters     picture -> Envoy clusters (endpoints travel inside them)
    routes       picture -> Envoy routes (VirtualService)
    listeners    picture -> Envoy listeners (a sidecar's, and a gateway's by Gateway)
    discovery    who has been sent what and accepted it; polls that stay open until something changes
"""
