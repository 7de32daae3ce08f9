"""Part masks on their way into training: mask files -> mask-aware datasets -> joint transforms.

``masks``           where mask files lie, reading and checking them
``transforms``      one random draw for an image and its label map
``datasets``        the mask-aware version of any torchreid image dataset class
``image_datasets``  published sets that torchreid has not, and a user's own images
``synthetic``       embedded, generated pedestrians
"""
