"""Readers: one module per raw format, behind one `beamline.read`."""
