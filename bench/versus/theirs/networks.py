"""The networks of the comparison in PyTorch, as one writes them there: NCHW modules, run channels-last."""
import math

import torch
from torch import nn
import torch.nn.functional as F


def norm(channels, groups=32, eps=1e-5):
    return nn.GroupNorm(groups, channels, eps=eps)


def heads_of(x, heads):
    """[N, T, C] to [N, heads, T, C / heads]"""
    n, t, c = x.shape
    return x.view(n, t, heads, c // heads).transpose(1, 2)


def attend(q, k, v, heads):
    mixed = F.scaled_dot_product_attention(heads_of(q, heads), heads_of(k, heads), heads_of(v, heads))
    return mixed.transpose(1, 2).flatten(2)


class ResBlock(nn.Module):
    def __init__(self, channels, out, emb, groups, eps):
        super().__init__()
        self.norm1 = norm(channels, groups, eps)
        self.conv1 = nn.Conv2d(channels, out, 3, padding=1)
        self.emb = nn.Linear(emb, out) if emb else None
        self.norm2 = norm(out, groups, eps)
        self.conv2 = nn.Conv2d(out, out, 3, padding=1)
        self.skip = nn.Conv2d(channels, out, 1) if out != channels else nn.Identity()

    def forward(self, x, emb=None):
        h = self.conv1(F.silu(self.norm1(x)))
        if self.emb is not None:
            h = h + self.emb(F.silu(emb))[:, :, None, None]
        return self.skip(x) + self.conv2(F.silu(self.norm2(h)))


class AttentionBlock(nn.Module):
    """Self-attention over the map: qkv in one layer."""

    def __init__(self, channels, heads, groups, eps=1e-5):
        super().__init__()
        self.heads = heads
        self.norm = norm(channels, groups, eps)
        self.qkv = nn.Linear(channels, 3 * channels)
        self.out = nn.Linear(channels, channels)

    def forward(self, x):
        n, c, h, w = x.shape
        tokens = self.norm(x).flatten(2).transpose(1, 2)
        mixed = self.out(attend(*self.qkv(tokens).chunk(3, 2), self.heads))
        return x + mixed.transpose(1, 2).reshape(n, c, h, w)


class CrossAttention(nn.Module):
    def __init__(self, channels, context, inner, heads):
        super().__init__()
        self.heads = heads
        self.q = nn.Linear(channels, inner, bias=False)
        self.k = nn.Linear(context, inner, bias=False)
        self.v = nn.Linear(context, inner, bias=False)
        self.out = nn.Linear(inner, channels)

    def forward(self, x, context):
        return self.out(attend(self.q(x), self.k(context), self.v(context), self.heads))


class FeedForward(nn.Module):
    def __init__(self, channels, mult, gated):
        super().__init__()
        self.gated = gated
        self.into = nn.Linear(channels, channels * mult * (2 if gated else 1))
        self.out = nn.Linear(channels * mult, channels)

    def forward(self, x):
        h = self.into(x)
        if not self.gated:
            return self.out(F.gelu(h))
        h, gate = h.chunk(2, -1)
        return self.out(h * F.gelu(gate))


class SpatialTransformer(nn.Module):
    def __init__(self, channels, heads, dim_head, context, groups):
        super().__init__()
        inner = heads * dim_head
        self.norm = norm(channels, groups, 1e-6)
        self.into = nn.Conv2d(channels, inner, 1)
        self.norms = nn.ModuleList(nn.LayerNorm(inner) for _ in range(3))
        self.own = CrossAttention(inner, inner, inner, heads)
        self.cross = CrossAttention(inner, context, inner, heads)
        self.feed = FeedForward(inner, 4, True)
        self.out = nn.Conv2d(inner, channels, 1)

    def forward(self, x, context):
        n, _, h, w = x.shape
        tokens = self.into(self.norm(x)).flatten(2).transpose(1, 2)
        normed = self.norms[0](tokens)
        tokens = tokens + self.own(normed, normed)
        tokens = tokens + self.cross(self.norms[1](tokens), context)
        tokens = tokens + self.feed(self.norms[2](tokens))
        return x + self.out(tokens.transpose(1, 2).reshape(n, -1, h, w))


class Upsample(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x):
        return self.conv(F.interpolate(x, scale_factor=2, mode="nearest"))


class UNet(nn.Module):
    def __init__(self, config):
        super().__init__()
        width, groups = config["modelChannels"], config.get("normGroups", 32)
        mults, blocks = config["channelMult"], config["numResBlocks"]
        context = config.get("contextDim", 0)
        head = config["numHeadChannels"]
        emb = 4 * width
        self.width = width
        self.time = nn.Sequential(nn.Linear(width, emb), nn.SiLU(), nn.Linear(emb, emb))
        classes = config.get("numClasses", 0)
        self.label = nn.Embedding(classes, emb) if classes else None

        def res(a, b):
            return ResBlock(a, b, emb, groups, 1e-5)

        def attention(factor, channels):
            if factor not in config["attentionResolutions"]:
                return []
            if context:
                return [SpatialTransformer(channels, channels // head, head, context, groups)]
            return [AttentionBlock(channels, channels // head, groups)]

        stages = [[nn.Conv2d(config["inChannels"], width, 3, padding=1)]]
        widths, c = [width], width
        for level, mult in enumerate(mults):
            for _ in range(blocks):
                stages.append([res(c, mult * width), *attention(2**level, mult * width)])
                c = mult * width
                widths.append(c)
            if level < len(mults) - 1:
                stages.append([nn.Conv2d(c, c, 3, stride=2, padding=1)])
                widths.append(c)
        self.down = nn.ModuleList(nn.ModuleList(s) for s in stages)
        factor = 2 ** (len(mults) - 1)
        middle = attention(factor, c) or [AttentionBlock(c, c // head, groups)]
        self.middle = nn.ModuleList([res(c, c), *middle, res(c, c)])
        stages = []
        for level in reversed(range(len(mults))):
            for i in range(blocks + 1):
                out = mults[level] * width
                stage = [res(c + widths.pop(), out), *attention(2**level, out)]
                c = out
                if level > 0 and i == blocks:
                    stage.append(Upsample(c))
                stages.append(stage)
        self.up = nn.ModuleList(nn.ModuleList(s) for s in stages)
        self.out = nn.Sequential(norm(c, groups), nn.SiLU(), nn.Conv2d(c, config["outChannels"], 3, padding=1))

    def run(self, stage, h, emb, context):
        for layer in stage:
            if isinstance(layer, ResBlock):
                h = layer(h, emb)
            elif isinstance(layer, SpatialTransformer):
                h = layer(h, context)
            else:
                h = layer(h)
        return h

    def forward(self, x, t, y=None, context=None):
        half = self.width // 2
        rates = torch.exp(torch.arange(half) * (-math.log(10000) / half))
        angles = t[:, None].float() * rates
        emb = self.time(torch.cat([angles.cos(), angles.sin()], 1))
        if y is not None:
            emb = emb + self.label(y)
        skips, h = [], x
        for stage in self.down:
            h = self.run(stage, h, emb, context)
            skips.append(h)
        h = self.run(self.middle, h, emb, context)
        for stage in self.up:
            h = self.run(stage, torch.cat([h, skips.pop()], 1), emb, context)
        return self.out(h)


class TextEncoder(nn.Module):
    def __init__(self, config):
        super().__init__()
        dim, self.heads = config["dim"], config["heads"]
        inner = self.heads * config["attnDimHead"]
        self.tokens = nn.Embedding(config["numTokens"], dim)
        self.places = nn.Embedding(config["maxSeqLen"], dim)
        self.layers = nn.ModuleList(
            nn.ModuleList(
                [nn.LayerNorm(dim), CrossAttention(dim, dim, inner, self.heads), nn.LayerNorm(dim),
                 FeedForward(dim, config.get("ffMult", 4), False)]
            )
            for _ in range(config["depth"])
        )
        self.norm = nn.LayerNorm(dim)

    def forward(self, ids):
        x = self.tokens(ids) + self.places.weight[: ids.shape[1]]
        for norm1, attention, norm2, feed in self.layers:
            h = norm1(x)
            x = x + attention(h, h)
            x = x + feed(norm2(x))
        return self.norm(x)


class Middle(nn.Sequential):
    def __init__(self, c, groups):
        super().__init__(
            ResBlock(c, c, 0, groups, 1e-6), AttentionBlock(c, 1, groups, 1e-6), ResBlock(c, c, 0, groups, 1e-6)
        )


class Down(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.conv = nn.Conv2d(c, c, 3, stride=2)

    def forward(self, x):
        return self.conv(F.pad(x, (0, 1, 0, 1)))


def encoder(config):
    ch, groups = config["ch"], config.get("normGroups", 32)
    layers, c = [nn.Conv2d(config["inChannels"], ch, 3, padding=1)], ch
    for level, mult in enumerate(config["chMult"]):
        for _ in range(config["numResBlocks"]):
            layers.append(ResBlock(c, ch * mult, 0, groups, 1e-6))
            c = ch * mult
        if level < len(config["chMult"]) - 1:
            layers.append(Down(c))
    z = config["zChannels"]
    return nn.Sequential(
        *layers, Middle(c, groups), norm(c, groups, 1e-6), nn.SiLU(), nn.Conv2d(c, 2 * z, 3, padding=1),
        nn.Conv2d(2 * z, 2 * z, 1),
    )


def decoder(config):
    ch, groups, z = config["ch"], config.get("normGroups", 32), config["zChannels"]
    c = ch * config["chMult"][-1]
    layers = [nn.Conv2d(z, z, 1), nn.Conv2d(z, c, 3, padding=1), Middle(c, groups)]
    for level in reversed(range(len(config["chMult"]))):
        for _ in range(config["numResBlocks"] + 1):
            layers.append(ResBlock(c, ch * config["chMult"][level], 0, groups, 1e-6))
            c = ch * config["chMult"][level]
        if level > 0:
            layers.append(Upsample(c))
    return nn.Sequential(
        *layers, norm(c, groups, 1e-6), nn.SiLU(), nn.Conv2d(c, config["outCh"], 3, padding=1)
    )


class Autoencoder(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.encoder, self.decoder = encoder(config), decoder(config)

    def forward(self, x, noise):
        mean, logvar = self.encoder(x).chunk(2, 1)
        logvar = logvar.clamp(-30, 20)
        kl = 0.5 * (mean.square() + logvar.exp() - 1 - logvar).sum((1, 2, 3))
        return self.decoder(mean + (0.5 * logvar).exp() * noise), kl
