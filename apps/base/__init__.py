"""What an application is made of, and what several of them share."""
