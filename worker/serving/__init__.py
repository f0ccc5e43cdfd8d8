"""The data plane: the gateway places connections, replicas answer them."""
