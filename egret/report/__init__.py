"""An experiment on one page: exp/<name>/report.html, which needs nothing but a browser."""
