"""Fake infrared images: edges, the EDM sampler, and what is made with them."""
