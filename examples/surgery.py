"""Cut a pretrained network, graft a new head, freeze a part, look at the result.

python examples/surgery.py
"""

import netgraft


def main(backbone: str = "efficientnet_lite0") -> None:
    from builders import load_backbone

    network = load_backbone(backbone).network  # any keras.Model will do
    print(*netgraft.cut_points(network)[:3], sep="\n")
    trunk = netgraft.cut(network, at="block5c_add")  # or at=0.7 of the depth, or remove=20 layers
    grafted = netgraft.graft(trunk, netgraft.HeadSpec(classes=5, pooling="both", dropout=0.2))
    model, trainable = netgraft.freeze(grafted, until=0.5)
    print(netgraft.describe(model))
    print(trainable)


if __name__ == "__main__":
    main()
