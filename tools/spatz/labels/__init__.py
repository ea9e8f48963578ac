"""Labels for nodes: what stands on them, where it stands on the sheet, and the PDF of it. Nothing secret is on one."""
