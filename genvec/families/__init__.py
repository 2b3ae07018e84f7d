"""Small generative models, one kind a file, all with the same shape."""

from genvec.families.ae import ae
from genvec.families.vae import vae

FAMILIES = {"ae": ae, "vae": vae}
