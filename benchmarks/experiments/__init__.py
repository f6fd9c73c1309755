"""Trainings on rendered identities that show whether the parts of a method do what they should."""
