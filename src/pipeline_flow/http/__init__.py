"""HTTP: a client whose credentials belong to one origin, pages of JSON, and how the next page is found."""
