"""The plugins that come with the router: one module or folder each."""
