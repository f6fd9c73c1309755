#!/bin/sh
# sh run_demo.sh     a whole run on rendered identities: no dataset, no GPU, about ten minutes on 2 cores
#
# Renders two sets of identities in SYSU-MM01's layout, gives a small network a warm start on the one (the
# part ImageNet plays in a real run), trains united on the other without labels, and tests it. Run again,
# it goes on where it stopped. No number printed here is a SYSU-MM01 result.
set -eu
cd "$(dirname "$(readlink -f "$0")")"
. .ci/environment.sh

others=data/demo-others
people=data/demo-people
# Several words each, which is why they stand without quotes below.
small="--height 64 --width 32"
network="--depth 10 --no-non-local --test-batch 64"

echo "1/4  rendering identities and, for the warm start, others"
python -m clustercontrast.rendering --out "$others" --size demo --identities 150 --seed 2 --workers 2
python -m clustercontrast.rendering --out "$people" --size demo --seed 1 --workers 2

echo "2/4  preparing their images"
python prepare_sysu.py --data-dir "$others" $small
python prepare_sysu.py --data-dir "$people" $small

echo "3/4  warm start: classifying the other identities"
python train_sysu.py --method supervised --name demo --data-dir "$others" $small \
    $network --pretrained random --epochs 1 --iters 350 --lr 1e-3 --erasing 0.2 \
    --batch-size 16 --batch-visible 16 --num-instances 2 --selection-images 256 --draws 2

echo "4/4  united on identities never seen before, without a label"
python train_sysu.py --method united --name demo --data-dir "$people" $small \
    $network --pretrained logs/sysu/supervised/demo/supervised/last.pth \
    --epochs 2 10 --iters 60 --lr 5e-4 --step-size 6 --erasing 0.2 \
    --batch-size 32 --batch-visible 32 --num-instances 4 --selection-images 256 --eval-draws 1 \
    --k1 15 --k2 4 --joint-k1 24 --joint-k2 4 --eps 0.6 --eps-joint 0.55 \
    --intra-weight 0
