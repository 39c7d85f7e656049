"""One update of ALM in PyTorch, written for this comparison after the paper and the released code's sizes.

Observations 17, actions 6, K = 3, batch 512, encoder and heads 2×512, model 2×1024, latent 50: the four losses, four
Adams with clipped gradients, and the moving targets. `alm_torch.py [THREADS]`.
"""

import sys

import torch
from serve import serve
from torch import nn
from torch.nn import functional

OBS, ACTION, LATENT, BATCH, K, HIDDEN, WIDE, HELD, CALLS = 17, 6, 50, 512, 3, 512, 1024, 10_000, 4
GAMMA, TAU, TRACE, COEFFICIENT, NOISE, LIMIT = 0.99, 0.005, 0.95, 0.1, 0.5, 0.3


def smooth(inputs, outputs, width):
    return nn.Sequential(
        nn.Linear(inputs, width), nn.ELU(), nn.Linear(width, width), nn.ELU(), nn.Linear(width, outputs)
    )


def normed(inputs, outputs):
    first = nn.Linear(inputs, HIDDEN), nn.LayerNorm(HIDDEN), nn.Tanh()
    return nn.Sequential(*first, nn.Linear(HIDDEN, HIDDEN), nn.ELU(), nn.Linear(HIDDEN, outputs))


def gaussian(outputs):
    mean, std = outputs.chunk(2, dim=-1)
    std = 10.0 - functional.softplus(10.0 - std)
    return 30.0 * torch.tanh(mean / 30.0), 0.1 + functional.softplus(std - 0.1)


def sample(mean, std):
    return mean + std * torch.randn_like(mean)


def perturbed(mean):
    action = mean + (NOISE * torch.randn_like(mean)).clamp(-LIMIT, LIMIT)
    return action + (action.clamp(-1.0, 1.0) - action).detach()


def divergence(mean, std, other_mean, other_std):
    ratio = std / other_std
    return (0.5 * (ratio**2 + ((mean - other_mean) / other_std) ** 2 - 1.0) - ratio.log()).sum(dim=-1)


def frozen(*modules):
    for module in modules:
        module.requires_grad_(False)


def thawed(*modules):
    for module in modules:
        module.requires_grad_(True)


class Update:
    """All networks and optimisers; calling it makes one update."""

    def __init__(self):
        self.encoder, self.target_encoder = smooth(OBS, 2 * LATENT, HIDDEN), smooth(OBS, 2 * LATENT, HIDDEN)
        self.model, self.actor = smooth(LATENT + ACTION, 2 * LATENT, WIDE), smooth(LATENT, ACTION, HIDDEN)
        self.reward, self.classifier = normed(LATENT + ACTION, 1), normed(2 * LATENT + ACTION, 2)
        self.critics = nn.ModuleList([normed(LATENT + ACTION, 1) for _ in range(2)])
        self.target_critics = nn.ModuleList([normed(LATENT + ACTION, 1) for _ in range(2)])
        groups = ([self.encoder, self.model], [self.reward, self.classifier], [self.critics], [self.actor])
        self.groups = [[p for module in group for p in module.parameters()] for group in groups]
        self.optimisers = [torch.optim.Adam(group, lr=1e-4) for group in self.groups]
        self.rows = {
            "obs": torch.randn(HELD, OBS),
            "action": torch.rand(HELD, ACTION) * 2 - 1,
            "reward": torch.randn(HELD),
            "next_obs": torch.randn(HELD, OBS),
            "discount": torch.ones(HELD),
        }

    def values(self, critics, z, action):
        x = torch.cat([z, action], dim=-1)
        return torch.cat([critic(x) for critic in critics], dim=-1)

    def predict(self, z, action):
        return gaussian(self.model(torch.cat([z, action], dim=-1)))

    def policy(self, z):
        return perturbed(torch.tanh(self.actor(z)))

    def descend(self, group, loss):
        self.optimisers[group].zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.groups[group], 100.0)
        self.optimisers[group].step()

    def world(self):
        start = torch.randint(0, HELD - K, (BATCH,))
        frozen(self.reward, self.critics)
        z, loss = sample(*gaussian(self.encoder(self.rows["obs"][start]))), 0.0
        for t in range(K):
            action = self.rows["action"][start + t]
            predicted = self.predict(z, action)
            with torch.no_grad():
                truth = gaussian(self.target_encoder(self.rows["next_obs"][start + t]))
            reward = self.reward(torch.cat([z, action], dim=-1))[:, 0]
            loss = loss + divergence(*predicted, *truth) - reward
            z = sample(*predicted)
        with torch.no_grad():
            action = self.policy(z)
        loss = loss - self.values(self.critics, z, action).amin(dim=-1)
        self.descend(0, loss.mean())
        thawed(self.reward, self.critics)

    def heads(self, now, following, action, reward):
        half = BATCH // 2
        with torch.no_grad():
            imagined = sample(*self.predict(sample(*now)[:half], action[:half]))
        z = sample(*now)
        shown = torch.cat([imagined, sample(*following)[half:]])
        labels = (torch.arange(BATCH) >= half).long()
        logits = self.classifier(torch.cat([z, action, shown], dim=-1))
        fitted = self.reward(torch.cat([z, action], dim=-1))[:, 0]
        self.descend(1, functional.mse_loss(fitted, reward) + functional.cross_entropy(logits, labels))

    def critic(self, now, following, action, reward, discount):
        with torch.no_grad():
            z = sample(*following)
            target = reward + GAMMA * discount * self.values(self.target_critics, z, self.policy(z)).amin(dim=-1)
        value = self.values(self.critics, sample(*now), action)
        self.descend(2, 0.5 * (value - target[:, None]).square().mean(dim=0).sum())

    def improve(self, now):
        constant = self.model, self.reward, self.classifier, self.critics
        frozen(*constant)
        z, latents, actions = sample(*now), [], []
        for _ in range(K):
            latents.append(z)
            actions.append(self.policy(z.detach()))
            z = sample(*self.predict(z, actions[-1]))
        latents, following = torch.stack(latents), torch.stack([*latents[1:], z])
        actions.append(self.policy(z.detach()))
        taken = torch.stack(actions[:-1])
        reward = self.reward(torch.cat([latents, taken], dim=-1))[..., 0]
        logits = self.classifier(torch.cat([latents, taken, following.detach()], dim=-1))
        reward = reward + COEFFICIENT * (logits[..., 1] - logits[..., 0])
        value = self.values(self.critics, following, torch.stack(actions[1:]).detach()).amin(dim=-1)
        later, loss = value[-1], 0.0
        for t in reversed(range(K)):
            later = reward[t] + GAMMA * ((1 - TRACE) * value[t] + TRACE * later)
            loss = loss - GAMMA**t * later.mean() / K
        self.descend(3, loss)
        thawed(*constant)

    def __call__(self):
        self.world()
        index = torch.randint(0, HELD, (BATCH,))
        obs, action, reward, next_obs, discount = (self.rows[name][index] for name in self.rows)
        with torch.no_grad():
            now, following = gaussian(self.target_encoder(obs)), gaussian(self.target_encoder(next_obs))
        self.heads(now, following, action, reward)
        self.critic(now, following, action, reward, discount)
        self.improve(now)
        with torch.no_grad():
            for target, online in ((self.target_encoder, self.encoder), (self.target_critics, self.critics)):
                for old, new in zip(target.parameters(), online.parameters(), strict=True):
                    old.lerp_(new, TAU)


def main():
    torch.manual_seed(0)
    if len(sys.argv) > 1:
        torch.set_num_threads(int(sys.argv[1]))
    update = Update()

    def alm():
        for _ in range(CALLS):
            update()
        return CALLS

    serve("torch", ("torch", "numpy"), {"alm": alm})


if __name__ == "__main__":
    main()
