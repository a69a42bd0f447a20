"""HTTP routes of hosted indexes: uploads, and the API for managers."""
