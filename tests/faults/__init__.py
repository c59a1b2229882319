"""What becomes of stored things and running processes when something breaks: nothing finished is lost."""
