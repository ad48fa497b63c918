"""What happens to every request around its view: IDs, access, limits, errors."""
