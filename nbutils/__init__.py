"""What the steel surface inspection notebooks share."""
