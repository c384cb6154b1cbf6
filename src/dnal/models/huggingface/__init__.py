"""Image and text classifiers of Hugging Face's transformers: by a folder, by a name on the Hub, by their configuration.

A network is built from what its configuration says, by the class of transformers that has this name. No code of a
folder is run, and nothing in it is unpickled.
"""
