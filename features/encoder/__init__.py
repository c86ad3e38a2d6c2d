"""Frozen encoders: what is known of each, how it is built, where its weights come from.

Where and how fast a network computes is `device`'s matter; nothing here reads a slide.

    card.py                what an encoder is: width, transform, pooling, licence
    cards.py               the registered encoders
    library_cards.py       cards of any network of timm and torchvision, by name
    registry.py            finding an encoder by name, and building one
    networks.py            how the architectures are built
    weights.py             weights from files, the installation, torchvision, timm and the Hugging Face hub
    transformers_names.py  weights under the names of Hugging Face's transformers, for timm's networks
    listing.py             the table of registered encoders
"""
