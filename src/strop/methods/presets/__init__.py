"""What libraries call by a method's name: each preset is what one of them computes by default, as read in the version it names."""
