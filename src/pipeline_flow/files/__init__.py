"""Files on this machine: which ones a path means, how one is replaced at once, and folders whose manifest is the commit."""
