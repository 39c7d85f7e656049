"""The tangents of a contact between a plane and a capsule as C MuJoCo lays them, in MuJoCo Warp.

Warp, like MJX (see `mjx_exact`), gives up the direction of a capsule that stands steeper than 60 degrees on the plane
for a world axis. The modules used have no public names; they are those of mujoco-mjx 3.17. The package warp is
imported by `install` alone: this module can be imported where the package is not.
"""

# pyright: basic, reportMissingImports=false, reportInvalidTypeForm=false, reportIndexIssue=false
# No `from __future__ import annotations`: Warp reads the types of a kernel's arguments from the annotations themselves.

import functools

__all__ = ["install"]


@functools.cache
def install() -> None:
    """From now on, in this process: kernels find the function when they are first built."""
    from mujoco.mjx.third_party.mujoco_warp._src import collision_primitive

    collision_primitive.plane_capsule = _plane_capsule()


def _plane_capsule():
    """The function of kernels that tells a plane's contacts with a capsule."""
    import warp as wp
    from mujoco.mjx.third_party.mujoco_warp._src.collision_primitive_core import mat23f, plane_sphere

    @wp.func
    def plane_capsule(
        plane_normal: wp.vec3,
        plane_pos: wp.vec3,
        capsule_pos: wp.vec3,
        capsule_axis: wp.vec3,
        capsule_radius: float,
        capsule_half_length: float,
    ):
        """Warp's two contacts of a pair, distances, places and frame, with the first tangent along the capsule."""
        along = capsule_axis - plane_normal * wp.dot(plane_normal, capsule_axis)
        length = wp.length(along)
        tangent = wp.vec3(0.0, 1.0, 0.0)
        if length > 1.0e-8:
            tangent = along / length
        other = wp.cross(plane_normal, tangent)
        frame = wp.mat33(
            plane_normal[0],
            plane_normal[1],
            plane_normal[2],
            tangent[0],
            tangent[1],
            tangent[2],
            other[0],
            other[1],
            other[2],
        )
        half = capsule_axis * capsule_half_length
        first, where_first = plane_sphere(plane_normal, plane_pos, capsule_pos + half, capsule_radius)
        second, where_second = plane_sphere(plane_normal, plane_pos, capsule_pos - half, capsule_radius)
        places = mat23f(
            where_first[0], where_first[1], where_first[2], where_second[0], where_second[1], where_second[2]
        )
        return wp.vec2(first, second), places, frame

    return plane_capsule
