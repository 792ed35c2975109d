"""The stages of tools/train_town_model.py: data, autoencoder, diffusion, export, evaluate."""
