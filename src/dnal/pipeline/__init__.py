"""The whole job: what was asked, the phases in their order, what came out."""
