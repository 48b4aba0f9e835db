"""Citadel: gives every ServiceAccount a certificate, in a Secret that its pods mount."""
