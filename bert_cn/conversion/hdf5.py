"""HDF5 files from elsewhere: what they hold lies in them, and nowhere else.

A dataset may keep its bytes in another file of the machine that reads it (external
storage, a virtual dataset), and a link may lead there. Whoever converts such a file
would copy those bytes into a model that is then published.
"""

import h5py


def check_self_contained(group: h5py.Group, shown: str) -> None:
    """Refuse a file in which something leads out of it, or a link is not a hard one.

    Args:
        group: an open file.
        shown: its name, for messages.

    Raises:
        ValueError: the message names the dataset or link.
    """
    seen = set()
    waiting = [group]
    while waiting:
        group = waiting.pop()
        for name in group:
            place = f"{group.name.rstrip('/')}/{name}"
            link = group.get(name, getlink=True)
            if not isinstance(link, h5py.HardLink):
                raise _leads_out(shown, place, "a link that is not a hard one")
            item = group[name]
            if isinstance(item, h5py.Group):
                # A hard link may lead back to a group above.
                address = h5py.h5o.get_info(item.id).addr
                if address not in seen:
                    seen.add(address)
                    waiting.append(item)
            elif isinstance(item, h5py.Dataset):
                if item.external:
                    raise _leads_out(shown, place, "stored in another file")
                if item.is_virtual:
                    raise _leads_out(shown, place, "a view of other datasets")


def _leads_out(shown: str, place: str, what: str) -> ValueError:
    return ValueError(
        f"{shown}: {place!r} is {what}, which no software writes for a BERT and which "
        "could copy files of this machine into the model: name another checkpoint."
    )
