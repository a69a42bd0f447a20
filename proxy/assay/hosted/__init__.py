"""Rules for uploads to hosted indexes: form, names, ownership and the contents of archives. Pure."""
