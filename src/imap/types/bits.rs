//! Small sets of named bits.

/// Declares a set type over an unsigned integer, with a constant per member.
macro_rules! bit_set {
    ($(#[$meta:meta])* $name:ident: $int:ty { $($(#[$doc:meta])* $member:ident = $bit:literal,)* }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
        pub struct $name($int);

        impl $name {
            pub const NONE: Self = Self(0);
            $($(#[$doc])* pub const $member: Self = Self(1 << $bit);)*

            /// The set's bits, for storage.
            pub const fn bits(self) -> $int {
                self.0
            }

            /// The set with these bits; `None` when one of them has no meaning.
            pub const fn from_bits(bits: $int) -> Option<Self> {
                if bits & !(0 $(| 1 << $bit)*) == 0 { Some(Self(bits)) } else { None }
            }

            pub const fn is_empty(self) -> bool {
                self.0 == 0
            }

            /// Whether every member of `other` is in the set.
            pub const fn contains(self, other: Self) -> bool {
                self.0 & other.0 == other.0
            }

            /// Whether a member of `other` is in the set.
            pub const fn intersects(self, other: Self) -> bool {
                self.0 & other.0 != 0
            }

            pub const fn union(self, other: Self) -> Self {
                Self(self.0 | other.0)
            }

            /// The members that are not in `other`.
            pub const fn without(self, other: Self) -> Self {
                Self(self.0 & !other.0)
            }

            pub fn insert(&mut self, other: Self) {
                self.0 |= other.0;
            }
        }

        impl std::ops::BitOr for $name {
            type Output = Self;

            fn bitor(self, other: Self) -> Self {
                self.union(other)
            }
        }
    };
}

pub(crate) use bit_set;
