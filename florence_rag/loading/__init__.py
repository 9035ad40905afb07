"""From a model's name to a component that is loaded on first use."""
