"""Stores, repositories and names that want to harm whoever looks at them, and every command run over every one of them.

| module | |
|---|---|
| `world` | a home, a sibling folder, a PATH of canaries, and between them the root that every entry starts from |
| `stores`, `journals`, `texts`, `repositories`, `names` | the corpus: functions that spoil such a root |
| `made` | the same by hypothesis |
| `calls` | the calls of every command, made from its declared parameters |
| `guard` | one call in a process of its own, and what it did that nothing of a repository may bring about |
| `traced` | the same seen from outside, by strace |

Nothing is fetched, nothing is kept: all of it is made by code in a scratch folder.
"""
