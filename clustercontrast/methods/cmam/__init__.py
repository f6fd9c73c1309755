"""CMAM-UDA: asymmetric mutual learning with fake infrared images.

"Asymmetric Mutual Learning for Unsupervised Transferable Visible-Infrared Re-Identification" (Wu,
Lin, Zheng; IEEE TCSVT 2024); there is no official code.  Visible images of other identities,
without labels, teach how identities differ.  A diffusion model that has learnt from the target's
infrared images gives each visible image an infrared-like twin.  Two networks, one reading both
kinds and one the gray kind alone, learn from the twins and from each other; then both train
themselves on the target's unlabelled images.  One file per stage: auxiliary_labels, diffusion,
generation, pretrain, selftrain, and finetune with some labels.
"""

from clustercontrast.engine.stage import Stage
from clustercontrast.methods.cmam.auxiliary_labels import AuxiliaryLabels
from clustercontrast.methods.cmam.diffusion import Diffusion
from clustercontrast.methods.cmam.finetune import Finetune
from clustercontrast.methods.cmam.generation import Generation
from clustercontrast.methods.cmam.pretrain import Pretrain
from clustercontrast.methods.cmam.selftrain import SelfTrain

STAGES: list[type[Stage]] = [AuxiliaryLabels, Diffusion, Generation, Pretrain, SelfTrain, Finetune]
