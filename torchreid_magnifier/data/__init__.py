"""Part masks and textures on their way into training: files -> datasets -> transforms.

``companions``         files that belong to images, one each: search and check before training
``masks``              where mask files lie, and reading them
``textures``           where textures lie, and reading them
``transforms``         one random draw for an image and its label map
``texture_transform``  an image's own transform, and its texture after it
``datasets``           the versions of any torchreid image dataset class with masks or textures
``image_datasets``     published sets that torchreid has not, and a user's own images
``synthetic``          embedded, generated pedestrians
"""
