"""What goes in and out of a call: tool inputs, results, errors and pages, worded for each audience."""
