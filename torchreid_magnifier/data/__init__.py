"""Part masks and textures on their way into training: files -> datasets -> transforms.

``sidecars``        files beside images, one each: search and check before training
``masks``           where label maps lie
``textures``        where textures lie
``transforms``      one random draw for an image and its label map; a texture after its image
``datasets``        the versions of any torchreid image dataset class with masks or textures
``image_datasets``  published sets that torchreid has not, and a user's own images
"""
