"""Pages, one file per domain: each handler asks the platform for view models and renders them."""
