"""Every file format of the project as a pydantic model; imports no torch.

Names are imported from the modules themselves, so that a command loads only the formats it uses.
"""
