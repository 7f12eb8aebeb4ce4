//! Who a connection is, and what it was given: roles per channel and capabilities everywhere.
//!
//! Roles are bundles of capabilities; whatever a token says that is not known here gives nothing.

use std::collections::BTreeMap;

use schemas::Channel;

/// Somebody whose token was good. Shared by everything a connection does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The user's id, 1 to 256 bytes.
    pub sub: String,
    /// What people call the user.
    pub name: Option<String>,
    /// Where the user's picture is.
    pub avatar: Option<String>,
    /// When the token stops counting, Unix milliseconds.
    pub expires_at_ms: i64,
    /// Roles per channel pattern.
    pub roles: Roles,
    /// Capabilities everywhere.
    pub caps: Caps,
}

impl Identity {
    /// Whether this is a backend service: every capability, and the right to set `userId`.
    pub fn is_backend(&self) -> bool {
        self.caps.is_backend()
    }

    /// Whether the token no longer counts for a connection at `now_ms`.
    pub fn is_expired(&self, now_ms: i64) -> bool {
        now_ms >= self.expires_at_ms
    }

    /// Whether this identity holds `capability` in `channel`, by role or everywhere.
    ///
    /// This is the bundle alone. Namespaces with rules of their own are in [`crate::access`].
    pub fn holds(&self, channel: &Channel, capability: Capability) -> bool {
        self.caps.has(capability)
            || self
                .roles
                .of(channel)
                .is_some_and(|role| role.has(capability))
    }
}

/// One thing somebody may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Capability {
    /// Subscribe and replay.
    CanvasView,
    /// History and snapshot.
    HistoryRead,
    /// See who is there.
    PresenceRead,
    /// Be seen: presence, cursor, typing.
    PresenceWrite,
    /// Chat, dice, notes, turns, maps, signalling, custom events.
    Publish,
    /// Comments.
    Comment,
    /// Draw, erase, shape, undo, redo.
    CanvasDraw,
    /// Move tokens.
    TokenMove,
    /// Clear the canvas.
    CanvasClear,
    /// Change the fog.
    FogManage,
    /// Grant and revoke.
    AccessManage,
    /// Edit documents.
    DocEdit,
    /// Read every job.
    JobRead,
}

impl Capability {
    /// All of them.
    pub const ALL: &'static [Capability] = &[
        Capability::CanvasView,
        Capability::HistoryRead,
        Capability::PresenceRead,
        Capability::PresenceWrite,
        Capability::Publish,
        Capability::Comment,
        Capability::CanvasDraw,
        Capability::TokenMove,
        Capability::CanvasClear,
        Capability::FogManage,
        Capability::AccessManage,
        Capability::DocEdit,
        Capability::JobRead,
    ];

    /// The name in a token's `caps`, `canvas.view`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Capability::CanvasView => "canvas.view",
            Capability::HistoryRead => "history.read",
            Capability::PresenceRead => "presence.read",
            Capability::PresenceWrite => "presence.write",
            Capability::Publish => "publish",
            Capability::Comment => "comment",
            Capability::CanvasDraw => "canvas.draw",
            Capability::TokenMove => "token.move",
            Capability::CanvasClear => "canvas.clear",
            Capability::FogManage => "fog.manage",
            Capability::AccessManage => "access.manage",
            Capability::DocEdit => "doc.edit",
            Capability::JobRead => "job.read",
        }
    }

    const fn bit(self) -> u16 {
        1 << self as u8
    }
}

/// A set of capabilities held everywhere.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Caps(u16);

const BACKEND: u16 = 1 << 15;

impl Caps {
    /// Reads a token's `caps`. `backend` means all of them and more; unknown names give nothing.
    pub fn from_names<'a>(names: impl IntoIterator<Item = &'a str>) -> Self {
        let mut bits = 0;
        for name in names {
            bits |= match name {
                "backend" => u16::MAX,
                _ => Capability::ALL
                    .iter()
                    .find(|c| c.as_str() == name)
                    .map_or(0, |c| c.bit()),
            };
        }
        Caps(bits)
    }

    /// What a backend service holds.
    pub const fn backend() -> Self {
        Caps(u16::MAX)
    }

    /// Whether `capability` is in the set.
    pub const fn has(self, capability: Capability) -> bool {
        self.0 & capability.bit() != 0
    }

    /// Whether the set is a backend's.
    pub const fn is_backend(self) -> bool {
        self.0 & BACKEND != 0
    }
}

/// A bundle of capabilities under a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// Runs the session.
    Gm,
    /// Plays in it.
    Player,
    /// Watches it.
    Spectator,
    /// Owns a document.
    Owner,
    /// Edits it.
    Editor,
    /// Comments on it.
    Commenter,
    /// Reads it.
    Viewer,
    /// A name this version does not know: holds nothing, and hides a wider pattern all the same.
    Unknown,
}

impl Role {
    /// The roles of the protocol's table.
    pub const ALL: &'static [Role] = &[
        Role::Gm,
        Role::Player,
        Role::Spectator,
        Role::Owner,
        Role::Editor,
        Role::Commenter,
        Role::Viewer,
    ];

    /// Reads the name in a token; anything else is [`Role::Unknown`].
    pub fn from_name(name: &str) -> Self {
        Role::ALL
            .iter()
            .copied()
            .find(|r| r.as_str() == name)
            .unwrap_or(Role::Unknown)
    }

    /// The name in a token, `gm`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Role::Gm => "gm",
            Role::Player => "player",
            Role::Spectator => "spectator",
            Role::Owner => "owner",
            Role::Editor => "editor",
            Role::Commenter => "commenter",
            Role::Viewer => "viewer",
            Role::Unknown => "unknown",
        }
    }

    /// Whether the bundle holds `capability`.
    pub const fn has(self, capability: Capability) -> bool {
        self.bits() & capability.bit() != 0
    }

    const fn bits(self) -> u16 {
        const SEE: u16 = Capability::CanvasView.bit()
            | Capability::HistoryRead.bit()
            | Capability::PresenceRead.bit()
            | Capability::PresenceWrite.bit();
        const WORK: u16 = SEE
            | Capability::Publish.bit()
            | Capability::Comment.bit()
            | Capability::CanvasDraw.bit()
            | Capability::TokenMove.bit()
            | Capability::DocEdit.bit();
        const RULE: u16 = WORK
            | Capability::CanvasClear.bit()
            | Capability::FogManage.bit()
            | Capability::AccessManage.bit();
        match self {
            Role::Gm | Role::Owner => RULE,
            Role::Player | Role::Editor => WORK,
            Role::Commenter => SEE | Capability::Comment.bit(),
            Role::Spectator | Role::Viewer => SEE,
            Role::Unknown => 0,
        }
    }
}

/// Roles by channel pattern: `<ns>.<id>` or `<ns>.*`. The exact one wins.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Roles {
    by_pattern: BTreeMap<String, Role>,
}

impl Roles {
    /// Roles from patterns and names, as a token spells them. A pattern of another form names no
    /// channel and so gives nothing.
    pub fn from_names<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let by_pattern = pairs
            .into_iter()
            .map(|(pattern, name)| (pattern.to_owned(), Role::from_name(name)))
            .collect();
        Roles { by_pattern }
    }

    /// The role in `channel`, if any.
    pub fn of(&self, channel: &Channel) -> Option<Role> {
        if self.by_pattern.is_empty() {
            return None;
        }
        if let Some(role) = self.by_pattern.get(channel.as_str()) {
            return Some(*role);
        }
        let wildcard = format!("{}.*", channel.namespace());
        self.by_pattern.get(&wildcard).copied()
    }

    /// Gives `role` in one channel, over whatever patterns say; returns what stood there exactly.
    pub fn grant(&mut self, channel: &Channel, role: Role) -> Option<Role> {
        self.by_pattern.insert(channel.as_str().to_owned(), role)
    }

    /// Takes every role in one channel away, over whatever patterns say.
    pub fn revoke(&mut self, channel: &Channel) {
        self.by_pattern
            .insert(channel.as_str().to_owned(), Role::Unknown);
    }

    /// The patterns and roles, in order of pattern.
    pub fn iter(&self) -> impl Iterator<Item = (&str, Role)> {
        self.by_pattern.iter().map(|(p, r)| (p.as_str(), *r))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn channel(text: &str) -> Channel {
        Channel::parse(text).unwrap()
    }

    #[test]
    fn the_exact_pattern_wins_over_the_wildcard() {
        let roles = Roles::from_names([("session.*", "gm"), ("session.42", "spectator")]);
        assert_eq!(roles.of(&channel("session.42")), Some(Role::Spectator));
        assert_eq!(roles.of(&channel("session.43")), Some(Role::Gm));
        assert_eq!(roles.of(&channel("docs.42")), None);
    }

    #[test]
    fn an_unknown_role_holds_nothing_and_hides_the_wildcard() {
        let roles = Roles::from_names([("session.*", "gm"), ("session.42", "wizard")]);
        let role = roles.of(&channel("session.42")).unwrap();
        assert!(Capability::ALL.iter().all(|&c| !role.has(c)));
    }

    #[test]
    fn patterns_of_another_form_give_nothing() {
        let roles = Roles::from_names([
            ("*", "gm"),
            ("session", "gm"),
            ("session*", "gm"),
            ("session.4*", "gm"),
            ("*.42", "gm"),
            ("", "gm"),
        ]);
        assert_eq!(roles.of(&channel("session.42")), None);
    }

    #[test]
    fn backend_means_every_capability_and_nothing_else_means_backend() {
        let backend = Caps::from_names(["backend"]);
        assert!(backend.is_backend());
        assert!(Capability::ALL.iter().all(|&c| backend.has(c)));
        let all = Caps::from_names(Capability::ALL.iter().map(|c| c.as_str()));
        assert!(Capability::ALL.iter().all(|&c| all.has(c)));
        assert!(!all.is_backend());
        assert_eq!(Caps::from_names(["Backend", "root", ""]), Caps::default());
    }

    #[test]
    fn a_revocation_hides_the_wildcard_and_a_grant_brings_it_back() {
        let mut roles = Roles::from_names([("session.*", "gm")]);
        roles.revoke(&channel("session.1"));
        assert!(
            !roles
                .of(&channel("session.1"))
                .unwrap()
                .has(Capability::CanvasView)
        );
        assert_eq!(roles.of(&channel("session.2")), Some(Role::Gm));
        roles.grant(&channel("session.1"), Role::Player);
        assert_eq!(roles.of(&channel("session.1")), Some(Role::Player));
    }
}
