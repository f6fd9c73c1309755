"""A trained model at work: features of images that a user has, and searches among them."""
