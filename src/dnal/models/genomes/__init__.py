"""Networks whose name is their list of layers: what a search finds is a name that every command takes."""

from dnal.models.genomes.families import EXAMPLES, FAMILIES, built, is_genome
from dnal.models.genomes.genome import Genome, Layer, text_of

__all__ = ["EXAMPLES", "FAMILIES", "Genome", "Layer", "built", "is_genome", "text_of"]
