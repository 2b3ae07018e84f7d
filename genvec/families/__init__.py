"""Small generative models, one kind a file, all with the same shape."""

from functools import partial

from genvec.families.aae import aae
from genvec.families.ae import ae
from genvec.families.cgan import cgan
from genvec.families.contractive_ae import contractive_ae
from genvec.families.denoising_ae import denoising_ae
from genvec.families.density import density
from genvec.families.gan import LOSSES, gan
from genvec.families.hyper_vae import hyper_vae
from genvec.families.inr import inr
from genvec.families.linear import bayesian_pca, pca, ppca
from genvec.families.mad_gan import mad_gan
from genvec.families.sparse_ae import sparse_ae
from genvec.families.vae import vae
from genvec.families.wae import wae

FAMILIES = {
    "aae": aae,
    "ae": ae,
    "bayesian_pca": bayesian_pca,
    "cgan": cgan,
    "contractive_ae": contractive_ae,
    "denoising_ae": denoising_ae,
    "density": density,
    "hyper_vae": hyper_vae,
    "inr": inr,
    "mad_gan": mad_gan,
    "pca": pca,
    "ppca": ppca,
    "sparse_ae": sparse_ae,
    "vae": vae,
    "wae": wae,
    **{loss: partial(gan, loss=loss) for loss in LOSSES},
}
