"""Trusted Publishers: how policies name them, and how a certificate's claims are matched. Pure."""
